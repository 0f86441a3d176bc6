"""`python -m resenc_plans` is the command line `resenc-plans`."""

from resenc_plans.cli.app import main

if __name__ == "__main__":
    main()
