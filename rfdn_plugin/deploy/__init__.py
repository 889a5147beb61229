"""From trained weights to users: upscaling images, exporting models, and the runtimes that run them."""
