"""`python -m kimad.launch` is the `kimad` command."""

from kimad.launch.cli import main

if __name__ == "__main__":
    main()
