package release

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"sigs.k8s.io/yaml"
)

// Helm's names for its parts in a registry (pkg/registry/constants.go of Helm 4).
const (
	chartConfig  = "application/vnd.cncf.helm.config.v1+json"
	chartContent = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// The lines of the chart that a release changes.
var (
	versionLines = regexp.MustCompile(`(?m)^(version|appVersion): .*$`)
	imageLines   = regexp.MustCompile(`(?m)^  repository: localhost/oomwitness$`)
	digestLine   = regexp.MustCompile(`(?m)^  digest: ""$`)
	notesLine    = regexp.MustCompile(`(?m)^annotations:$`)
)

// chart returns the chart of this version as Helm packs it, and as an OCI layout. If image, a
// digest, is not empty, the chart names the image by its digest.
func (s Source) chart(image string) (packed, layout []byte, err error) {
	files, err := s.chartFiles(image)
	if err != nil {
		return nil, nil, err
	}
	if packed, err = tarGz(files, s.Created); err != nil {
		return nil, nil, err
	}
	for _, f := range files {
		if f.name == "oomwitness/Chart.yaml" {
			layout, err = s.chartLayout(f.data, packed)
		}
	}
	return packed, layout, err
}

func (s Source) chartFiles(image string) (files []file, err error) {
	root := filepath.Join(s.Tree, "runtime-class/chart")
	err = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		switch relative {
		case "Chart.yaml":
			if data, err = replaced(data, versionLines, 2, "$1: "+s.Version); err == nil && image != "" {
				data, err = replaced(data, notesLine, 1, s.chartNotes(image))
			}
		case "values.yaml":
			if image == "" {
				break
			}
			if data, err = replaced(data, imageLines, 1, "  repository: "+s.Repository); err == nil {
				data, err = replaced(data, digestLine, 1, `  digest: "`+image+`"`)
			}
		}
		files = append(files, file{path.Join("oomwitness", relative), 0o644, data})
		return err
	})
	return files, err
}

// chartNotes returns the annotations that a release adds: the image, which Artifact Hub scans
// (artifacthub.io/docs/topics/annotations/helm), and whether the version is a prerelease.
func (s Source) chartNotes(image string) string {
	return fmt.Sprintf("annotations:\n  artifacthub.io/prerelease: %q\n  artifacthub.io/images: |\n    - name: oomwitness\n      image: %s@%s\n      platforms: [linux/amd64, linux/arm64]",
		fmt.Sprint(strings.Contains(s.Version, "-")), s.Repository, image)
}

// replaced changes all lines that match. Their number must be want.
func replaced(data []byte, lines *regexp.Regexp, want int, with string) ([]byte, error) {
	if n := len(lines.FindAll(data, -1)); n != want {
		return nil, fmt.Errorf("%d lines like %s, have to be %d", n, lines, want)
	}
	return lines.ReplaceAll(data, []byte(with)), nil
}

// chartLayout returns the chart as an OCI layout, as "helm push" writes it to a registry.
func (s Source) chartLayout(metadata, packed []byte) ([]byte, error) {
	var about struct {
		Description string `json:"description"`
	}
	config, err := yaml.YAMLToJSON(metadata)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(config, &about); err != nil {
		return nil, err
	}
	l := layout{}
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: l.blob(chartConfig, config), Layers: []ocispec.Descriptor{l.blob(chartContent, packed)},
		Annotations: map[string]string{
			ocispec.AnnotationTitle: "oomwitness", ocispec.AnnotationVersion: s.Version, ocispec.AnnotationRevision: s.Revision,
			ocispec.AnnotationDescription: about.Description, ocispec.AnnotationCreated: s.Created.UTC().Format(time.RFC3339),
		},
	}
	return l.pack(manifest, s.Version, s.Created)
}

// layout has the files of an OCI layout.
type layout []file

// blob adds a blob, and returns its descriptor.
func (l *layout) blob(mediaType string, data []byte) ocispec.Descriptor {
	d := content(mediaType, data)
	*l = append(*l, file{path.Join("blobs", d.Digest.Algorithm().String(), d.Digest.Encoded()), 0o644, data})
	return d
}

func content(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

// pack adds a manifest, and an index with the tag of the manifest. It returns the layout as an
// archive.
func (l *layout) pack(manifest ocispec.Manifest, tag string, at time.Time) ([]byte, error) {
	text, err := json.Marshal(manifest)
	if err != nil {
		return nil, err
	}
	top := l.blob(manifest.MediaType, text)
	top.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
	for name, value := range map[string]any{
		ocispec.ImageIndexFile: ocispec.Index{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{top},
		},
		ocispec.ImageLayoutFile: ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion},
	} {
		if text, err = json.Marshal(value); err != nil {
			return nil, err
		}
		*l = append(*l, file{name, 0o644, text})
	}
	var out bytes.Buffer
	err = writeTar(&out, *l, at)
	return out.Bytes(), err
}
