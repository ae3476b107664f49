"""Running a trained model in a vehicle: no mm* package and no torch is imported here."""
