"""What runs in the processes of the user's script. It needs PyTorch."""
