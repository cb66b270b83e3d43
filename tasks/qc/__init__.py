"""Quality control of a file that is delivered: measured by ffmpeg's filters and the scorer, judged by limits, told as JSON, CSV and HTML."""
