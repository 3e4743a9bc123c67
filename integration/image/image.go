// Package image makes the container image of oomwitness, for all of its architectures. It needs
// neither a registry nor a base image. The same programs make the same bytes.
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

// BinDir is the folder of the programs in the image.
const BinDir = "/usr/local/bin"

// SBOMPath is the path of the image's own bill of materials, with a name that scanners look
// for.
const SBOMPath = "/usr/share/sbom/oomwitness.cdx.json"

// user is an ordinary user. The pod gives uid 0 to the container that installs on a node.
const user = "65532:65532"

// Programs are the image's programs; the first is the entry point.
var Programs = []string{"oomwitness", "containerd-shim-oomwitness-v2"}

// Source describes the image to make.
type Source struct {
	// Ref is the image's name with its tag. Version and Revision go into the labels.
	Ref, Version, Revision string
	// Created is the time of the commit: the time of the build would differ in each build.
	Created time.Time
	// Bins has the folder of the programs by architecture.
	Bins map[string]string
	// License is the path of the license's text.
	License string
}

// platform returns the image of one architecture, and its bill of materials.
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

// add returns the image with one more layer of files.
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

// tarOf returns an archive of files that root owns, with the folders above them.
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

// parents returns the folders above an absolute path, the outermost first.
func parents(name string) []string {
	if dir := path.Dir(name); dir != "/" {
		return append(parents(dir), dir)
	}
	return nil
}
