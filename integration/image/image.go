// Package image makes the container image of oomwitness, without a registry and
// without another image: from scratch, for all its architectures, the same bytes
// from the same programs.
package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// BinDir is where the programs are in the image.
const BinDir = "/usr/local/bin"

// SBOMPath is where the image has its own bill of materials, with the name that
// scanners look for.
const SBOMPath = "/usr/share/sbom/oomwitness.cdx.json"

// user is nobody in particular. What installs on a node is given uid 0 by its pod.
const user = "65532:65532"

// Programs are what the image has; the first is what it runs.
var Programs = []string{"oomwitness", "containerd-shim-oomwitness-v2"}

// Source says what the image is made of.
type Source struct {
	// Ref is the image's name with its tag, Version and Revision what its labels
	// say.
	Ref, Version, Revision string
	// Created is the commit's time: the build's own would be different each time.
	Created time.Time
	// Bins are folders with the programs, by architecture.
	Bins map[string]string
	// License is the file with its text.
	License string
}

// platform makes the image of one architecture, and its bill of materials.
func (s Source) platform(arch string) (v1.Image, []byte, error) {
	files := map[string][]byte{}
	for _, name := range Programs {
		data, err := os.ReadFile(filepath.Join(s.Bins[arch], name))
		if err != nil {
			return nil, nil, fmt.Errorf("image for %s: %w", arch, err)
		}
		files[path.Join(BinDir, name)] = data
	}
	bom, err := s.sbom(arch, files)
	if err != nil {
		return nil, nil, fmt.Errorf("image for %s: %w", arch, err)
	}
	license, err := os.ReadFile(s.License)
	if err != nil {
		return nil, nil, fmt.Errorf("image for %s: %w", arch, err)
	}
	papers := map[string][]byte{SBOMPath: bom, "/usr/share/doc/oomwitness/LICENSE": license}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, layer := range []struct {
		what  string
		files map[string][]byte
		mode  int64
	}{{"programs", files, 0o755}, {"licence and bill of materials", papers, 0o644}} {
		if img, err = s.add(img, layer.what, layer.files, layer.mode); err != nil {
			return nil, nil, fmt.Errorf("image for %s: %w", arch, err)
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, nil, fmt.Errorf("image for %s: %w", arch, err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", arch, v1.Time{Time: s.Created}
	config.Config = v1.Config{
		User: user, Entrypoint: []string{path.Join(BinDir, Programs[0])}, Env: []string{"PATH=" + BinDir}, WorkingDir: "/",
		Labels: map[string]string{
			"org.opencontainers.image.title": "oomwitness", "org.opencontainers.image.licenses": "Apache-2.0",
			"org.opencontainers.image.source":  "https://github.com/oomwitness/oomwitness",
			"org.opencontainers.image.version": s.Version, "org.opencontainers.image.revision": s.Revision,
		},
	}
	img, err = mutate.ConfigFile(img, config)
	return img, bom, err
}

// add puts files on top of an image as one layer.
func (s Source) add(img v1.Image, what string, files map[string][]byte, mode int64) (v1.Image, error) {
	text, err := tarOf(files, mode, s.Created)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(text)), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	return mutate.Append(img, mutate.Addendum{
		Layer: layer, History: v1.History{Created: v1.Time{Time: s.Created}, CreatedBy: "oomwitness make image", Comment: what},
	})
}

// tarOf is an archive of files of root, with the folders above them.
func tarOf(files map[string][]byte, mode int64, at time.Time) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	made := map[string]bool{"/": true}
	for _, name := range sorted(files) {
		for _, dir := range parents(name) {
			if made[dir] {
				continue
			}
			made[dir] = true
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir[1:] + "/", Mode: 0o755, ModTime: at}); err != nil {
				return nil, err
			}
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name[1:], Mode: mode, Size: int64(len(files[name])), ModTime: at}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(files[name]); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// parents are the folders above an absolute path, the outermost first.
func parents(name string) []string {
	if dir := path.Dir(name); dir != "/" {
		return append(parents(dir), dir)
	}
	return nil
}
