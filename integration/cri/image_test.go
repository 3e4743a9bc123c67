package cri

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"path"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// untar returns the files of an archive; a folder has no content.
func untar(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		files[h.Name] = content
	}
}

// TestArchive follows the layout from its index to the program.
func TestArchive(t *testing.T) {
	img := Image{
		Ref: "test/image:1", Programs: map[string][]byte{"workload": []byte("program")},
		Folders: []string{"tmp"}, Entrypoint: []string{"/workload"},
	}
	archive, err := img.archive()
	require.NoError(t, err)
	files := untar(t, archive)
	blob := func(d ocispec.Descriptor) []byte {
		content, ok := files[path.Join("blobs", d.Digest.Algorithm().String(), d.Digest.Encoded())]
		require.True(t, ok, "%s %s", d.MediaType, d.Digest)
		require.Equal(t, d.Digest, digest.FromBytes(content), d.MediaType)
		require.Equal(t, d.Size, int64(len(content)), d.MediaType)
		return content
	}
	var index ocispec.Index
	require.NoError(t, json.Unmarshal(files[ocispec.ImageIndexFile], &index))
	require.Len(t, index.Manifests, 1)
	require.Equal(t, img.Ref, index.Manifests[0].Annotations["io.containerd.image.name"])
	var manifest ocispec.Manifest
	require.NoError(t, json.Unmarshal(blob(index.Manifests[0]), &manifest))
	var config ocispec.Image
	require.NoError(t, json.Unmarshal(blob(manifest.Config), &config))
	require.Equal(t, img.Entrypoint, config.Config.Entrypoint)
	require.Len(t, manifest.Layers, 1)
	require.Equal(t, []digest.Digest{manifest.Layers[0].Digest}, config.RootFS.DiffIDs)
	layer := untar(t, blob(manifest.Layers[0]))
	require.Equal(t, map[string][]byte{"workload": []byte("program"), "tmp/": {}}, layer)

	again, err := img.archive()
	require.NoError(t, err)
	require.Equal(t, archive, again, "the same image is the same bytes")
}
