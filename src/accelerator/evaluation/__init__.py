"""The gate between training and deployment: a challenger is evaluated, held against the champion, and judged."""
