"""In the vehicle: what runs with and without the training stack."""
