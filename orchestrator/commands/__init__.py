"""What each word of the command line does, one file each; imported when it is typed."""
