"""All compiled code: kernels for training, prediction and images."""
