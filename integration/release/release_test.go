package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

const (
	tested   = "1.2.3"
	revision = "0123456789abcdef0123456789abcdef01234567"
)

// shared is a source that the tests only read. The first test builds it.
var shared struct {
	once sync.Once
	dir  string
	Source
}

func TestMain(m *testing.M) {
	status := m.Run()
	_ = os.RemoveAll(shared.dir)
	os.Exit(status)
}

func source(t *testing.T) Source {
	t.Helper()
	shared.once.Do(func() {
		var err error
		shared.dir, err = os.MkdirTemp("", "oomwitness-release-")
		require.NoError(t, err)
		shared.Source = build(t, shared.dir)
	})
	return shared.Source
}

// build builds programs in a folder, with one module that they link.
func build(t *testing.T, dir string) Source {
	t.Helper()
	put := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	put("go.mod", "module example.org/hello\n\ngo 1.26\n\nrequire example.org/dep v1.0.0\n\nreplace example.org/dep v1.0.0 => ./dep\n")
	put("dep/go.mod", "module example.org/dep\n\ngo 1.26\n")
	put("dep/dep.go", "package dep\n\nconst Word = \"hello\"\n")
	put("main.go", "package main\n\nimport \"example.org/dep\"\n\nfunc main() { println(dep.Word) }\n")
	s := Source{
		Version: tested, Revision: revision, Created: time.Unix(1700000000, 0).UTC(), Repository: "registry.invalid/oomwitness",
		Bins: map[string]string{}, Tree: "../..", Command: []string{"make", "release"},
	}
	for _, arch := range []string{"amd64", "arm64"} {
		s.Bins[arch] = filepath.Join(dir, arch)
		for _, name := range programs {
			cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(arch, name), ".")
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOARCH="+arch, "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
		}
	}
	return s
}

func made(t *testing.T, s Source) Files {
	t.Helper()
	files, err := s.Make()
	require.NoError(t, err)
	seal, err := s.Seal(files)
	require.NoError(t, err)
	for name, data := range seal {
		files[name] = data
	}
	return files
}

// TestSameFiles builds the programs again in another folder: the files must be the same. Each
// file has its checksum, and is a subject of the statement.
func TestSameFiles(t *testing.T) {
	s := source(t)
	a, b := made(t, s), made(t, build(t, t.TempDir()))
	require.Equal(t, a.names(), b.names())
	for name := range a {
		require.True(t, bytes.Equal(a[name], b[name]), name)
	}
	require.Equal(t, []string{
		"SHA256SUMS", "oomwitness-chart_1.2.3.oci.tar", "oomwitness-chart_1.2.3.tgz", "oomwitness-image_1.2.3.oci.tar",
		"oomwitness_1.2.3_linux_amd64.cdx.json", "oomwitness_1.2.3_linux_amd64.spdx.json", "oomwitness_1.2.3_linux_amd64.tar.gz",
		"oomwitness_1.2.3_linux_arm64.cdx.json", "oomwitness_1.2.3_linux_arm64.spdx.json", "oomwitness_1.2.3_linux_arm64.tar.gz",
		"provenance.intoto.json",
	}, a.names())

	var stated statement
	require.NoError(t, json.Unmarshal(a[Provenance], &stated))
	require.Equal(t, "https://slsa.dev/provenance/v1", stated.PredicateType)
	require.Equal(t, revision, stated.Predicate.BuildDefinition.ResolvedDependencies[0].Digest["gitCommit"])
	require.Len(t, stated.Subject, len(a)-2)
	for _, subject := range stated.Subject {
		sum := sha256.Sum256(a[subject.Name])
		require.Equal(t, hex.EncodeToString(sum[:]), subject.Digest["sha256"])
		require.Contains(t, string(a[Checksums]), subject.Digest["sha256"]+"  "+subject.Name+"\n")
	}

	// Written and read again, the files get the same seal.
	dir := t.TempDir()
	require.NoError(t, a.Write(dir))
	again, err := Read(dir)
	require.NoError(t, err)
	seal, err := s.Seal(again)
	require.NoError(t, err)
	require.Equal(t, string(a[Checksums]), string(seal[Checksums]))
}

// unpacked returns the files of an archive by their names.
func unpacked(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for archive := tar.NewReader(r); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		require.Zero(t, header.Uid+header.Gid)
		require.EqualValues(t, 1700000000, header.ModTime.Unix())
		files[header.Name], err = io.ReadAll(archive)
		require.NoError(t, err)
	}
}

func gunzipped(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(data))
	require.NoError(t, err)
	return unpacked(t, r)
}

func TestContents(t *testing.T) {
	s := source(t)
	files := made(t, s)
	archive := gunzipped(t, files["oomwitness_1.2.3_linux_arm64.tar.gz"])
	for _, name := range programs {
		want, err := os.ReadFile(filepath.Join(s.Bins["arm64"], name))
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, archive["oomwitness-1.2.3/"+name]))
	}
	require.Contains(t, string(archive["oomwitness-1.2.3/LICENSE"]), "Apache License")

	chart := gunzipped(t, files["oomwitness-chart_1.2.3.tgz"])
	require.Contains(t, string(chart["oomwitness/Chart.yaml"]), "\nversion: 1.2.3\nappVersion: 1.2.3\n")
	var about struct{ Annotations map[string]string }
	require.NoError(t, yaml.Unmarshal(chart["oomwitness/Chart.yaml"], &about))
	require.Equal(t, "false", about.Annotations["artifacthub.io/prerelease"])
	require.Equal(t, "Apache-2.0", about.Annotations["artifacthub.io/license"], "those of the tree are still there")
	var images []struct {
		Name, Image string
		Platforms   []string
	}
	require.NoError(t, yaml.Unmarshal([]byte(about.Annotations["artifacthub.io/images"]), &images))
	require.Len(t, images, 1)
	require.Regexp(t, `^registry.invalid/oomwitness@sha256:[0-9a-f]{64}$`, images[0].Image)
	require.Equal(t, []string{"linux/amd64", "linux/arm64"}, images[0].Platforms)
	require.Contains(t, string(chart["oomwitness/values.yaml"]), "\n  repository: registry.invalid/oomwitness\n")
	require.Regexp(t, `\n  digest: "sha256:[0-9a-f]{64}"\n`, string(chart["oomwitness/values.yaml"]))
	require.NotEmpty(t, chart["oomwitness/templates/agent/policy.yaml"])
	s.Repository = ""
	packed, _, err := s.chart("")
	require.NoError(t, err)
	require.Contains(t, string(gunzipped(t, packed)["oomwitness/values.yaml"]), "\n  digest: \"\"\n")

	bom, err := spdxjson.Read(bytes.NewReader(files["oomwitness_1.2.3_linux_amd64.spdx.json"]))
	require.NoError(t, err)
	var names []string
	for _, p := range bom.Packages {
		names = append(names, p.PackageName)
	}
	require.Equal(t, []string{"oomwitness", "std", "./dep", "containerd-shim-oomwitness-v2", "kubectl-oomwitness"}, names)
	require.Len(t, bom.Relationships, 9, "three programs, each with two modules")
}

// TestChartLayout: every descriptor refers to a file in the layout.
func TestChartLayout(t *testing.T) {
	files := made(t, source(t))
	layout := unpacked(t, bytes.NewReader(files["oomwitness-chart_1.2.3.oci.tar"]))
	blob := func(d ocispec.Descriptor) []byte {
		data := layout["blobs/sha256/"+d.Digest.Encoded()]
		require.Equal(t, fmt.Sprintf("%x", sha256.Sum256(data)), d.Digest.Encoded())
		require.EqualValues(t, len(data), d.Size)
		return data
	}
	var index ocispec.Index
	require.NoError(t, json.Unmarshal(layout["index.json"], &index))
	require.Equal(t, tested, index.Manifests[0].Annotations[ocispec.AnnotationRefName])
	var manifest ocispec.Manifest
	require.NoError(t, json.Unmarshal(blob(index.Manifests[0]), &manifest))
	require.Equal(t, chartConfig, manifest.Config.MediaType)
	require.Contains(t, string(blob(manifest.Config)), `"name":"oomwitness"`)
	require.True(t, bytes.Equal(files["oomwitness-chart_1.2.3.tgz"], blob(manifest.Layers[0])))
}

func TestCheckVersion(t *testing.T) {
	for _, good := range []string{"0.1.0", "1.2.3", "10.20.30", "1.2.3-rc.1", "1.2.3-alpha-2", "1.2.3-0", "1.2.3-01a.0"} {
		require.NoError(t, CheckVersion(good))
	}
	for _, bad := range []string{"", "v1.2.3", "1.2", "1.2.3.4", "01.2.3", "1.2.3-", "1.2.3+5", "1.2.3 ", "1.2.3-rc..1", "1.2.3-rc.01", "latest"} {
		require.ErrorContains(t, CheckVersion(bad), "has to be a semantic version", bad)
	}
}

// TestChartThatIsNotAsExpected: the chart lacks a line that a release has to change.
func TestChartThatIsNotAsExpected(t *testing.T) {
	dir := t.TempDir()
	chart := filepath.Join(dir, "runtime-class/chart")
	require.NoError(t, os.MkdirAll(chart, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(chart, "Chart.yaml"), []byte("name: oomwitness\nversion: 0.1.0\n"), 0o644))
	_, _, err := Source{Version: tested, Tree: dir}.chart("")
	require.ErrorContains(t, err, "1 lines like "+strings.TrimSuffix(versionLines.String(), " .*$"))
}
