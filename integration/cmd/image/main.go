// Command image makes the container image of oomwitness from its programs.
package main

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/oomwitness/oomwitness/integration/image"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	s := image.Source{Bins: map[string]string{}}
	var out string
	var created int64
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.StringVar(&out, "out", "", "folder for the image and its bills of materials")
	flags.StringVar(&s.Ref, "ref", "", "name of the image with its tag")
	flags.StringVar(&s.Version, "version", "", "version that its labels say")
	flags.StringVar(&s.Revision, "revision", "", "commit that its labels say")
	flags.StringVar(&s.License, "license", "LICENSE", "file with the licence")
	flags.Int64Var(&created, "created", 0, "the commit's time in seconds since 1970")
	flags.Func("bin", "ARCH=FOLDER with the programs; once for each architecture", image.BinsFlag(s.Bins))
	if err := flags.Parse(args); err != nil {
		return err
	}
	if out == "" || s.Ref == "" || len(s.Bins) == 0 {
		return errors.New("--out, --ref and --bin have to be given")
	}
	s.Created = time.Unix(created, 0).UTC()
	return write(s, out)
}

// write makes all files, and gives them their final name last: nobody can take a part for the
// whole.
func write(s image.Source, out string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	name := filepath.Join(out, "oomwitness.tar")
	file, err := os.Create(name + ".new")
	if err != nil {
		return err
	}
	result, err := s.Write(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	for arch, bom := range result.SBOMs {
		if err := os.WriteFile(filepath.Join(out, "oomwitness-"+arch+".cdx.json"), bom, 0o644); err != nil {
			return err
		}
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	fmt.Printf("%s\n%s@%s\n", name, s.Ref, result.Index)
	for _, arch := range slices.Sorted(maps.Keys(result.Images)) {
		fmt.Printf("  linux/%s  %s\n", arch, result.Images[arch])
	}
	return nil
}
