"""Plans run into a folder: judging, results, figures."""
