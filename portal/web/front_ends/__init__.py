"""Front ends: the files of applications in the browser, and development servers."""
