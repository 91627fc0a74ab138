"""Job scripts of clusters, in which a sweep is carried out."""
