// Command compat reads files of figures, and prints the table of the containerd matrix in
// Markdown.
package main

import (
	"fmt"
	"os"

	"github.com/oomwitness/oomwitness/integration/compat"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "compat:", err)
		os.Exit(1)
	}
}

func run(files []string) error {
	if len(files) == 0 {
		return fmt.Errorf("want files of figures")
	}
	var table compat.Table
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		err = table.Read(file)
		_ = file.Close() // the file was only read
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return table.Write(os.Stdout)
}
