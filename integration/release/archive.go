package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// file is a file of an archive.
type file struct {
	name string
	mode int64
	data []byte
}

// archive returns an archive of the programs of one architecture and the documents, below one
// folder.
func (s Source) archive(arch string) ([]byte, error) {
	var files []file
	top := "oomwitness-" + s.Version
	for _, name := range programs {
		data, err := os.ReadFile(filepath.Join(s.Bins[arch], name))
		if err != nil {
			return nil, err
		}
		files = append(files, file{path.Join(top, name), 0o755, data})
	}
	for _, name := range documents {
		data, err := os.ReadFile(filepath.Join(s.Tree, name))
		if err != nil {
			return nil, err
		}
		files = append(files, file{path.Join(top, name), 0o644, data})
	}
	return tarGz(files, s.Created)
}

// tarGz returns files as a compressed archive.
func tarGz(files []file, at time.Time) ([]byte, error) {
	var out bytes.Buffer
	zip, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if err := writeTar(zip, files, at); err != nil {
		return nil, err
	}
	err = zip.Close()
	return out.Bytes(), err
}

// writeTar writes files that root owns, in the order of their names, all with the same time.
func writeTar(to io.Writer, files []file, at time.Time) error {
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	w := tar.NewWriter(to)
	for _, f := range files {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: at, Format: tar.FormatUSTAR}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		if _, err := w.Write(f.data); err != nil {
			return err
		}
	}
	return w.Close()
}
