package image

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"path"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"
)

// sbom returns the bill of materials of the programs for one architecture. It comes from the
// build information that the Go linker wrote into the programs: it lists what they really
// contain. It has neither a time nor a random serial number.
func (s Source) sbom(arch string, programs map[string][]byte) ([]byte, error) {
	bom := cyclonedx.NewBOM()
	root := cyclonedx.Component{
		BOMRef: "image", Type: cyclonedx.ComponentTypeContainer, Name: "oomwitness", Version: s.Version,
		Licenses: &cyclonedx.Licenses{{License: &cyclonedx.License{ID: "Apache-2.0"}}},
	}
	bom.Metadata = &cyclonedx.Metadata{Component: &root, Properties: &[]cyclonedx.Property{{Name: "architecture", Value: arch}}}
	modules := map[string]cyclonedx.Component{}
	var parts []cyclonedx.Component
	var links []cyclonedx.Dependency
	var refs []string
	for _, name := range sorted(programs) {
		info, err := buildinfo.Read(bytes.NewReader(programs[name]))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path.Base(name), err)
		}
		if got := setting(info, "GOARCH"); got != arch {
			return nil, fmt.Errorf("%s: built for %q, has to be for %s", path.Base(name), got, arch)
		}
		sum := sha256.Sum256(programs[name])
		part := cyclonedx.Component{
			BOMRef: "file:" + name, Type: cyclonedx.ComponentTypeApplication, Name: path.Base(name), Version: s.Version,
			Hashes:   &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
			Licenses: root.Licenses,
		}
		linked := []string{add(modules, "std", info.GoVersion[len("go"):])}
		for _, dep := range Modules(info) {
			linked = append(linked, add(modules, dep.Path, dep.Version))
		}
		slices.Sort(linked)
		parts, refs = append(parts, part), append(refs, part.BOMRef)
		links = append(links, cyclonedx.Dependency{Ref: part.BOMRef, Dependencies: &linked})
	}
	for _, ref := range sorted(modules) {
		parts = append(parts, modules[ref])
	}
	links = append(links, cyclonedx.Dependency{Ref: root.BOMRef, Dependencies: &refs})
	bom.Components, bom.Dependencies = &parts, &links
	var out bytes.Buffer
	err := cyclonedx.NewBOMEncoder(&out, cyclonedx.BOMFileFormatJSON).SetPretty(true).Encode(bom)
	return out.Bytes(), err
}

// Modules returns the modules that a program is linked from, beside its own: a replaced one
// by what replaces it.
func Modules(info *debug.BuildInfo) (list []*debug.Module) {
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		list = append(list, dep)
	}
	return list
}

// PackageURL returns the purl of a module. It is "" for a folder that replaces one: no
// registry has the folder.
func PackageURL(path, version string) string {
	if strings.HasPrefix(path, "./") {
		return ""
	}
	return "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B") // a purl must have + escaped
}

// add records a module and returns its reference.
func add(modules map[string]cyclonedx.Component, name, version string) string {
	purl := PackageURL(name, version)
	ref := cmp.Or(purl, "folder:"+name)
	modules[ref] = cyclonedx.Component{
		BOMRef: ref, Type: cyclonedx.ComponentTypeLibrary, Name: name, Version: version, PackageURL: purl,
	}
	return ref
}

func setting(info *debug.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}
