"""What a job delivers beside its MP4 and captions: MOV, an HLS ladder, further sound tracks, stems, a QC report."""
