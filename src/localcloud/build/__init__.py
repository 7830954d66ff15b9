"""Cloud Build: builds of images and of anything else, step after step, on the local registry and runtime."""
