"""What trials will cost, and how many fit."""
