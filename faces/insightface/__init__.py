"""InsightFace as an analyzer and as a recogniser; the library is imported only when it is used."""
