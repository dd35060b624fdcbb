"""What controller and agent say to each other: typed commands down, facts up."""
