"""Large downloads, made by workers: `models` has the row of each, `jobs` makes, mails and deletes
the files, `views` shows them to the one who asked."""
