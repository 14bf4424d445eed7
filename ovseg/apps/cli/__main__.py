from ovseg.apps.cli import main

main()
