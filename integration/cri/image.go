package cri

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"slices"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// imageLabels are the labels of an image that CRI knows and keeps.
var imageLabels = map[string]string{"io.cri-containerd.image": "managed", "io.cri-containerd.pinned": "pinned"}

// Image describes an image: its programs, and the command that runs by default.
type Image struct {
	Ref string
	// Programs has the content of each program by its path in the image.
	Programs map[string][]byte
	// Folders are empty folders.
	Folders    []string
	Entrypoint []string
}

// Import loads an image into containerd and unpacks it, without a registry.
func Import(ctx context.Context, socket string, img Image) (err error) {
	ctx = namespaces.WithNamespace(ctx, Namespace)
	archive, err := img.archive()
	if err != nil {
		return fmt.Errorf("image %s: %w", img.Ref, err)
	}
	c, err := client.New(socket)
	if err != nil {
		return fmt.Errorf("image %s: %w", img.Ref, err)
	}
	defer c.Close() //nolint:errcheck // the import is over
	imported, err := c.Import(ctx, bytes.NewReader(archive), client.WithImageLabels(imageLabels))
	if err != nil {
		return fmt.Errorf("import image %s: %w", img.Ref, err)
	}
	for _, i := range imported {
		if err := client.NewImage(c, i).Unpack(ctx, ""); err != nil {
			return fmt.Errorf("unpack image %s: %w", img.Ref, err)
		}
	}
	return nil
}

// archive returns the image as the tar of an OCI layout.
func (i Image) archive() ([]byte, error) {
	layer, err := i.layer()
	if err != nil {
		return nil, err
	}
	blobs := map[string][]byte{}
	add := func(mediaType string, content []byte) ocispec.Descriptor {
		d := digest.FromBytes(content)
		blobs[path.Join("blobs", d.Algorithm().String(), d.Encoded())] = content
		return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}
	}
	layerAt := add(ocispec.MediaTypeImageLayer, layer)
	config, err := json.Marshal(ocispec.Image{
		Platform: ocispec.Platform{Architecture: runtime.GOARCH, OS: "linux"},
		Config:   ocispec.ImageConfig{Entrypoint: i.Entrypoint, Env: []string{"PATH=/bin:/"}},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layerAt.Digest}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: add(ocispec.MediaTypeImageConfig, config), Layers: []ocispec.Descriptor{layerAt},
	})
	if err != nil {
		return nil, err
	}
	at := add(ocispec.MediaTypeImageManifest, manifest)
	at.Annotations = map[string]string{"io.containerd.image.name": i.Ref, ocispec.AnnotationRefName: i.Ref}
	index, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{at},
	})
	if err != nil {
		return nil, err
	}
	blobs[ocispec.ImageIndexFile] = index
	blobs[ocispec.ImageLayoutFile] = []byte(`{"imageLayoutVersion": "` + ocispec.ImageLayoutVersion + `"}`)
	return tarOf(nil, blobs, 0o644)
}

func (i Image) layer() ([]byte, error) { return tarOf(i.Folders, i.Programs, 0o755) }

// tarOf returns a tar of folders and files: the same bytes at every call.
func tarOf(folders []string, files map[string][]byte, mode int64) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range slices.Sorted(slices.Values(folders)) {
		h := &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: int64(fs.FileMode(0o755))}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(files[name]))}); err != nil {
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
