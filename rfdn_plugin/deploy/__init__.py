"""From trained weights to users: upscaling images, exporting models, and the runtimes that run them."""

from rfdn_plugin.compat import without_telemetry

without_telemetry()
