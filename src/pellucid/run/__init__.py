"""Work at the scale of a data set: samples that are read part by part, and the folder of a run."""
