// Package release makes the files of a release from built programs: archives, the image and the
// chart as OCI layouts, bills of materials, checksums and a statement of provenance. The same
// programs make the same bytes: all times are the commit's, and nothing is random.
package release

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/oomwitness/oomwitness/integration/image"
)

// Names of the files that are made last, out of all others.
const (
	Checksums  = "SHA256SUMS"
	Provenance = "provenance.intoto.json"
)

// Source describes a release.
type Source struct {
	// Version is the release's version, as in "1.2.3". Revision is the full ID of the commit,
	// Created is its time.
	Version, Revision string
	Created           time.Time
	// Repository is the registry's path for the image and the chart, "" if that is not known.
	// With a Repository the chart names the image by its digest there.
	Repository string
	// Bins has the folder of the programs by architecture.
	Bins map[string]string
	// Tree is the folder of the source tree.
	Tree string
	// Command is the command that makes the release, for the statement of provenance.
	Command []string
}

// programs are the programs of each archive: those of the image, and kubectl's plugin.
var programs = append(slices.Clone(image.Programs), "kubectl-oomwitness")

// documents are the documents of each archive.
var documents = []string{"LICENSE", "CHANGELOG.md", "README.md", "SECURITY.md"}

// Files are the files of a release by their names.
type Files map[string][]byte

// Make returns all files except distribution packages, checksums and provenance.
func (s Source) Make() (Files, error) {
	files := Files{}
	img := image.Source{
		Ref: s.imageName() + ":" + s.Version, Version: s.Version, Revision: s.Revision, Created: s.Created,
		Bins: s.Bins, License: filepath.Join(s.Tree, "LICENSE"),
	}
	var archive bytes.Buffer
	made, err := img.Write(&archive)
	if err != nil {
		return nil, err
	}
	files["oomwitness-image_"+s.Version+".oci.tar"] = archive.Bytes()
	for arch, bom := range made.SBOMs {
		files[s.name(arch, ".cdx.json")] = bom
		if files[s.name(arch, ".tar.gz")], err = s.archive(arch); err != nil {
			return nil, fmt.Errorf("archive for %s: %w", arch, err)
		}
		if files[s.name(arch, ".spdx.json")], err = s.spdx(arch); err != nil {
			return nil, fmt.Errorf("SPDX for %s: %w", arch, err)
		}
	}
	digest := ""
	if s.Repository != "" {
		digest = made.Index.String()
	}
	packed, layout, err := s.chart(digest)
	if err != nil {
		return nil, fmt.Errorf("chart: %w", err)
	}
	files["oomwitness-chart_"+s.Version+".tgz"] = packed
	files["oomwitness-chart_"+s.Version+".oci.tar"] = layout
	return files, nil
}

// Seal returns checksums and provenance of a release's files.
func (s Source) Seal(files Files) (Files, error) {
	sums := &strings.Builder{}
	digests := map[string]string{}
	for _, name := range files.names() {
		sum := sha256.Sum256(files[name])
		digests[name] = hex.EncodeToString(sum[:])
		fmt.Fprintf(sums, "%s  %s\n", digests[name], name)
	}
	statement, err := s.provenance(digests)
	if err != nil {
		return nil, fmt.Errorf("provenance: %w", err)
	}
	return Files{Checksums: []byte(sums.String()), Provenance: statement}, nil
}

// Read returns the files of a folder, except checksums, provenance and signatures.
func Read(dir string) (Files, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := Files{}
	for _, entry := range entries {
		name := entry.Name()
		if name == Checksums || name == Provenance || strings.HasSuffix(name, ".sigstore.json") {
			continue
		}
		if files[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// Write writes the files into a folder.
func (f Files) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range f.names() {
		if err := os.WriteFile(filepath.Join(dir, name), f[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (f Files) names() (names []string) {
	for name := range f {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (s Source) name(arch, suffix string) string {
	return "oomwitness_" + s.Version + "_linux_" + arch + suffix
}

// imageName returns the image's name without a tag.
func (s Source) imageName() string {
	if s.Repository == "" {
		return "localhost/oomwitness"
	}
	return s.Repository
}

// version matches a semantic version without build metadata, which no tag of an image may have.
var version = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-` + identifier + `(\.` + identifier + `)*)?$`)

// identifier matches a part of a prerelease: a number of it has no leading zero, since Helm
// refuses one.
const identifier = `(0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)`

// CheckVersion returns an error for a version that is not like 1.2.3 or 1.2.3-rc.1.
func CheckVersion(text string) error {
	if !version.MatchString(text) {
		return fmt.Errorf("%q: has to be a semantic version without a v, such as 1.2.3 or 1.2.3-rc.1", text)
	}
	return nil
}
