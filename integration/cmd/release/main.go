// Command release makes the files of a release. It also makes the checksums and the statement
// of provenance of files that are there: see package release.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/oomwitness/oomwitness/integration/image"
	"github.com/oomwitness/oomwitness/integration/release"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	s := release.Source{Bins: map[string]string{}}
	var out, command string
	var created int64
	var seal bool
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.StringVar(&out, "out", "", "folder for the files")
	flags.StringVar(&s.Version, "version", "", "version of the release, without a v")
	flags.StringVar(&s.Revision, "revision", "", "full ID of the commit")
	flags.Int64Var(&created, "created", 0, "the commit's time in seconds since 1970")
	flags.StringVar(&s.Repository, "repository", "", "where the image will be: the chart names it by its digest there")
	flags.StringVar(&s.Tree, "tree", ".", "folder of the source tree")
	flags.StringVar(&command, "command", "", "command that makes the release, for the statement")
	flags.BoolVar(&seal, "seal", false, "make checksums and provenance of the files in --out, and nothing else")
	flags.Func("bin", "ARCH=FOLDER with the programs; once for each architecture", image.BinsFlag(s.Bins))
	if err := flags.Parse(args); err != nil {
		return err
	}
	if out == "" || s.Revision == "" || len(s.Bins) == 0 && !seal {
		return errors.New("--out, --revision and --bin have to be given")
	}
	if err := release.CheckVersion(s.Version); err != nil {
		return fmt.Errorf("--version %w", err)
	}
	s.Created, s.Command = time.Unix(created, 0).UTC(), strings.Fields(command)
	return write(s, out, seal)
}

func write(s release.Source, out string, seal bool) error {
	make := s.Make
	if seal {
		make = func() (release.Files, error) {
			files, err := release.Read(out)
			if err != nil {
				return nil, err
			}
			return s.Seal(files)
		}
	}
	files, err := make()
	if err != nil {
		return err
	}
	return files.Write(out)
}
