"""Does a detector work on another vehicle's cameras without retraining?"""
