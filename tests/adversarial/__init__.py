"""What a chat model may write that is not so, and what is: cases by hand and by rule."""
