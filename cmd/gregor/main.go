// Command gregor is Apache Kafka, transformed: the whole platform in one binary.
package main

import (
	"os"

	"github.com/gregorhq/gregor/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
