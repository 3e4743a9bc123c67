package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/require"
)

// program is a real Go program: the bill of materials is made of its build information.
const program = "package main\n\nfunc main() { println(\"hello\") }\n"

var arches = []string{"amd64", "arm64"}

// source returns a Source whose programs are built in a new folder.
func source(t *testing.T) Source {
	t.Helper()
	dir := t.TempDir()
	put := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	put("go.mod", "module example.org/hello\n\ngo 1.26\n")
	put("main.go", program)
	put("LICENSE", "do what you like")
	s := Source{
		Ref: "example.org/oomwitness:1.2.3", Version: "1.2.3", Revision: "abc", Created: time.Unix(1700000000, 0).UTC(),
		Bins: map[string]string{}, License: filepath.Join(dir, "LICENSE"),
	}
	for _, arch := range arches {
		s.Bins[arch] = filepath.Join(dir, arch)
		for _, name := range Programs {
			cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(arch, name), ".")
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOARCH="+arch, "CGO_ENABLED=0")
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
		}
	}
	return s
}

func written(t *testing.T, s Source) ([]byte, Result) {
	t.Helper()
	var buf bytes.Buffer
	result, err := s.Write(&buf)
	require.NoError(t, err)
	return buf.Bytes(), result
}

// TestSameBytes builds the programs again in another folder: the image must have the same
// bytes.
func TestSameBytes(t *testing.T) {
	a, first := written(t, source(t))
	b, second := written(t, source(t))
	require.Equal(t, first.Index, second.Index)
	require.True(t, bytes.Equal(a, b), "the archives differ")
}

// unpack unpacks the layout into a folder, and returns the folder.
func unpack(t *testing.T, archive []byte) string {
	t.Helper()
	dir := t.TempDir()
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		require.NoError(t, err)
		name := filepath.Join(dir, header.Name)
		if header.Typeflag == tar.TypeDir {
			require.NoError(t, os.MkdirAll(name, 0o755))
			continue
		}
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(name, data, 0o644))
	}
}

func TestLayout(t *testing.T) {
	s := source(t)
	archive, result := written(t, s)
	top, err := layout.ImageIndexFromPath(unpack(t, archive))
	require.NoError(t, err)
	require.NoError(t, validate.Index(top))
	manifest, err := top.IndexManifest()
	require.NoError(t, err)
	require.Len(t, manifest.Manifests, 1)
	require.Equal(t, s.Ref, manifest.Manifests[0].Annotations["io.containerd.image.name"])
	require.Equal(t, "1.2.3", manifest.Manifests[0].Annotations["org.opencontainers.image.ref.name"])
	index, err := top.ImageIndex(result.Index)
	require.NoError(t, err)
	manifest, err = index.IndexManifest()
	require.NoError(t, err)
	require.Len(t, manifest.Manifests, len(arches))
	for i, arch := range arches {
		require.Equal(t, &v1.Platform{OS: "linux", Architecture: arch}, manifest.Manifests[i].Platform)
		require.Equal(t, result.Images[arch], manifest.Manifests[i].Digest)
		img, err := index.Image(result.Images[arch])
		require.NoError(t, err)
		requireImage(t, s, img, arch)
	}
}

func requireImage(t *testing.T, s Source, img v1.Image, arch string) {
	t.Helper()
	config, err := img.ConfigFile()
	require.NoError(t, err)
	require.Equal(t, arch, config.Architecture)
	require.Equal(t, "65532:65532", config.Config.User, "no root unless a pod says so")
	require.Equal(t, []string{"/usr/local/bin/oomwitness"}, config.Config.Entrypoint)
	require.Equal(t, "abc", config.Config.Labels["org.opencontainers.image.revision"])
	files := map[string]*tar.Header{}
	content := map[string][]byte{}
	reader := mutate.Extract(img)
	defer reader.Close()
	for r := tar.NewReader(reader); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		files[header.Name] = header
		content[header.Name], err = io.ReadAll(r)
		require.NoError(t, err)
		require.Zero(t, header.Uid+header.Gid)
	}
	for _, name := range Programs {
		want, err := os.ReadFile(filepath.Join(s.Bins[arch], name))
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, content["usr/local/bin/"+name]))
		require.EqualValues(t, 0o755, files["usr/local/bin/"+name].Mode)
	}
	require.Equal(t, "do what you like", string(content["usr/share/doc/oomwitness/LICENSE"]))
	require.NotEmpty(t, content[strings.TrimPrefix(SBOMPath, "/")])
}

func TestBillOfMaterials(t *testing.T) {
	_, result := written(t, source(t))
	for _, arch := range arches {
		bom := new(cyclonedx.BOM)
		require.NoError(t, cyclonedx.NewBOMDecoder(bytes.NewReader(result.SBOMs[arch]), cyclonedx.BOMFileFormatJSON).Decode(bom))
		refs := map[string]cyclonedx.Component{}
		for _, c := range *bom.Components {
			refs[c.BOMRef] = c
		}
		for _, name := range Programs {
			require.Len(t, (*refs["file:/usr/local/bin/"+name].Hashes)[0].Value, 64)
		}
		std := 0
		for _, d := range *bom.Dependencies {
			for _, ref := range *d.Dependencies {
				require.Contains(t, refs, ref, "named, and not there")
				if strings.HasPrefix(ref, "pkg:golang/std@1.") {
					std++
				}
			}
		}
		require.Equal(t, len(Programs), std)
	}
}

// TestDockerReadsIt reads the image by the manifest of the older archive format.
func TestDockerReadsIt(t *testing.T) {
	s := source(t)
	archive, result := written(t, s)
	opener := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil }
	manifest, err := tarball.LoadManifest(opener)
	require.NoError(t, err)
	require.Equal(t, []string{s.Ref}, manifest[0].RepoTags)
	img, err := tarball.Image(opener, nil)
	require.NoError(t, err)
	want, err := img.ConfigFile()
	require.NoError(t, err)
	require.Equal(t, "amd64", want.Architecture)
	require.NotZero(t, result.Index)
}

func TestProgramOfAnotherArchitecture(t *testing.T) {
	s := source(t)
	s.Bins["arm64"] = s.Bins["amd64"]
	_, err := s.Write(io.Discard)
	require.ErrorContains(t, err, `built for "amd64", has to be for arm64`)
	s.Bins["arm64"] = t.TempDir()
	_, err = s.Write(io.Discard)
	require.ErrorContains(t, err, "image for arm64: open ")
}

// TestModules: what replaces a module is what the program has. A folder has no package URL.
func TestModules(t *testing.T) {
	list := Modules(&debug.BuildInfo{Deps: []*debug.Module{
		{Path: "example.org/a", Version: "v1.0.0+x"},
		{Path: "example.org/b", Version: "v1.0.0", Replace: &debug.Module{Path: "./b", Version: "(devel)"}},
		{Path: "example.org/c", Version: "v1.0.0", Replace: &debug.Module{Path: "example.org/fork", Version: "v2.0.0"}},
	}})
	var urls []string
	for _, m := range list {
		urls = append(urls, PackageURL(m.Path, m.Version))
	}
	require.Equal(t, []string{"pkg:golang/example.org/a@v1.0.0%2Bx", "", "pkg:golang/example.org/fork@v2.0.0"}, urls)
}
