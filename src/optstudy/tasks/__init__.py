"""What is trained on what: tasks, kinds of data, data sets, networks, pretrained weights."""
