package image

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Result describes the image that was made.
type Result struct {
	// Index is the digest of the image, Images has those of its architectures.
	Index  v1.Hash
	Images map[string]v1.Hash
	// SBOMs are the bills of materials by architecture.
	SBOMs map[string][]byte
}

// Write writes the image as the tar of an OCI layout that ctr and docker load.
func (s Source) Write(to io.Writer) (Result, error) {
	result := Result{Images: map[string]v1.Hash{}, SBOMs: map[string][]byte{}}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	images := map[string]v1.Image{}
	for _, arch := range sorted(s.Bins) {
		img, bom, err := s.platform(arch)
		if err != nil {
			return result, err
		}
		digest, err := img.Digest()
		if err != nil {
			return result, fmt.Errorf("image for %s: %w", arch, err)
		}
		images[arch], result.Images[arch], result.SBOMs[arch] = img, digest, bom
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "linux", Architecture: arch},
		}})
	}
	var err error
	if result.Index, err = index.Digest(); err != nil {
		return result, fmt.Errorf("image index: %w", err)
	}
	dir, err := os.MkdirTemp("", "oomwitness-image-")
	if err != nil {
		return result, err
	}
	defer os.RemoveAll(dir)
	at, err := layout.Write(dir, empty.Index)
	if err != nil {
		return result, fmt.Errorf("image layout: %w", err)
	}
	_, tag, _ := strings.Cut(path.Base(s.Ref), ":")
	names := map[string]string{"io.containerd.image.name": s.Ref, "org.opencontainers.image.ref.name": tag}
	if err := at.AppendIndex(index, layout.WithAnnotations(names)); err != nil {
		return result, fmt.Errorf("image layout: %w", err)
	}
	docker, err := s.dockerManifest(images)
	if err != nil {
		return result, fmt.Errorf("image layout: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), docker, 0o644); err != nil {
		return result, err
	}
	return result, s.pack(to, dir)
}

// dockerManifest returns the manifest that docker reads in an archive older than OCI layouts.
// It has one platform: that of the build.
func (s Source) dockerManifest(images map[string]v1.Image) ([]byte, error) {
	var all []map[string]any
	for _, arch := range []string{"amd64", "arm64"} {
		img := images[arch]
		if img == nil || len(all) > 0 {
			continue
		}
		manifest, err := img.Manifest()
		if err != nil {
			return nil, err
		}
		var layers []string
		for _, layer := range manifest.Layers {
			layers = append(layers, blob(layer.Digest))
		}
		all = append(all, map[string]any{"Config": blob(manifest.Config.Digest), "RepoTags": []string{s.Ref}, "Layers": layers})
	}
	return json.Marshal(all)
}

func blob(digest v1.Hash) string { return path.Join("blobs", digest.Algorithm, digest.Hex) }

// pack writes a folder as an archive that is the same in each build.
func (s Source) pack(to io.Writer, dir string) error {
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		files["/"+relative], err = os.ReadFile(name)
		return err
	})
	if err != nil {
		return fmt.Errorf("image layout: %w", err)
	}
	text, err := tarOf(files, 0o644, s.Created)
	if err != nil {
		return fmt.Errorf("image layout: %w", err)
	}
	if _, err := io.Copy(to, bytes.NewReader(text)); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	return nil
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
