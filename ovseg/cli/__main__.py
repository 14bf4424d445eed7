from ovseg.cli import main

main()
