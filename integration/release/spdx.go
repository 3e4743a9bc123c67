package release

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // SPDX demands SHA-1 beside SHA-256
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/oomwitness/oomwitness/integration/image"
)

// notInID matches characters that an SPDX identifier may not have.
var notInID = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// spdx returns the bill of materials of the programs for one architecture, from the build
// information that the Go linker wrote into them.
func (s Source) spdx(arch string) ([]byte, error) {
	doc := &v2_3.Document{
		SPDXVersion: v2_3.Version, DataLicense: v2_3.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName:      "oomwitness " + s.Version + " linux/" + arch,
		DocumentNamespace: repository + "/spdx/" + s.Version + "/" + s.Revision + "/" + arch,
		CreationInfo: &v2_3.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Tool", Creator: "oomwitness-release"}},
			Created:  s.Created.UTC().Format(time.RFC3339),
		},
	}
	modules := map[common.ElementID]bool{}
	for _, name := range programs {
		data, err := os.ReadFile(filepath.Join(s.Bins[arch], name))
		if err != nil {
			return nil, err
		}
		info, err := buildinfo.Read(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		program := s.program(name, data)
		doc.Packages = append(doc.Packages, program)
		doc.Relationships = append(doc.Relationships, relation("DOCUMENT", "DESCRIBES", program.PackageSPDXIdentifier))
		add := func(path, version string) {
			m := module(path, version)
			if !modules[m.PackageSPDXIdentifier] {
				modules[m.PackageSPDXIdentifier] = true
				doc.Packages = append(doc.Packages, m)
			}
			doc.Relationships = append(doc.Relationships, relation(program.PackageSPDXIdentifier, "STATIC_LINK", m.PackageSPDXIdentifier))
		}
		add("std", strings.TrimPrefix(info.GoVersion, "go"))
		for _, dep := range image.Modules(info) {
			add(dep.Path, dep.Version)
		}
	}
	var out bytes.Buffer
	err := spdxjson.Write(doc, &out, spdxjson.Indent("  "))
	return out.Bytes(), err
}

func (s Source) program(name string, data []byte) *v2_3.Package {
	sum1, sum256 := sha1.Sum(data), sha256.Sum256(data) //nolint:gosec // as above
	return &v2_3.Package{
		PackageName: name, PackageSPDXIdentifier: common.ElementID("Program-" + name), PackageVersion: s.Version,
		PackageDownloadLocation: repository, PackageLicenseConcluded: "Apache-2.0", PackageLicenseDeclared: "Apache-2.0",
		PackageCopyrightText: noAssertion, PrimaryPackagePurpose: "APPLICATION",
		PackageChecksums: []common.Checksum{
			{Algorithm: common.SHA1, Value: hex.EncodeToString(sum1[:])}, {Algorithm: common.SHA256, Value: hex.EncodeToString(sum256[:])},
		},
	}
}

const noAssertion = "NOASSERTION"

func module(path, version string) *v2_3.Package {
	m := &v2_3.Package{
		PackageName: path, PackageVersion: version, PackageDownloadLocation: noAssertion,
		PackageSPDXIdentifier:   common.ElementID("Module-" + notInID.ReplaceAllString(path+"-"+version, "-")),
		PackageLicenseConcluded: noAssertion, PackageLicenseDeclared: noAssertion, PackageCopyrightText: noAssertion,
	}
	if purl := image.PackageURL(path, version); purl != "" {
		m.PackageExternalReferences = []*v2_3.PackageExternalReference{{
			Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: purl,
		}}
	}
	return m
}

func relation(from common.ElementID, what string, to common.ElementID) *v2_3.Relationship {
	return &v2_3.Relationship{
		RefA: common.DocElementID{ElementRefID: from}, RefB: common.DocElementID{ElementRefID: to}, Relationship: what,
	}
}
