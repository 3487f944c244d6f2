"""Why a network says what it says: activation maps, attention, features, receptive fields."""
