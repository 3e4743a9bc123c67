package release

import (
	"encoding/json"
	"runtime"
	"slices"
)

const (
	repository = "https://github.com/oomwitness/oomwitness"
	// buildType is the page that explains the parameters.
	buildType = repository + "/blob/main/docs/release.md#provenance"
)

// statement is in-toto's statement of version 1 with SLSA's predicate of version 1, with the
// fields that this package uses: https://slsa.dev/spec/v1.0/provenance. The types of in-toto's
// Go module are those of protobuf, whose JSON differs from one build to the next.
type statement struct {
	Type          string     `json:"_type"`
	Subject       []resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     struct {
		BuildDefinition buildDefinition `json:"buildDefinition"`
		RunDetails      struct {
			Builder struct {
				ID string `json:"id"`
			} `json:"builder"`
		} `json:"runDetails"`
	} `json:"predicate"`
}

type buildDefinition struct {
	BuildType            string         `json:"buildType"`
	ExternalParameters   map[string]any `json:"externalParameters"`
	InternalParameters   map[string]any `json:"internalParameters"`
	ResolvedDependencies []resource     `json:"resolvedDependencies"`
}

type resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest"`
}

// provenance returns the statement: sources and command that made the files. It names no
// builder, since that is the signature's part, and has neither a time nor a host.
func (s Source) provenance(digests map[string]string) ([]byte, error) {
	names := []string{}
	for name := range digests {
		names = append(names, name)
	}
	slices.Sort(names)
	out := statement{Type: "https://in-toto.io/Statement/v1", PredicateType: "https://slsa.dev/provenance/v1"}
	for _, name := range names {
		out.Subject = append(out.Subject, resource{Name: name, Digest: map[string]string{"sha256": digests[name]}})
	}
	out.Predicate.BuildDefinition = buildDefinition{
		BuildType:          buildType,
		ExternalParameters: map[string]any{"version": s.Version, "repository": s.Repository},
		InternalParameters: map[string]any{"go": runtime.Version(), "command": s.Command},
		ResolvedDependencies: []resource{{
			URI: "git+" + repository + "@" + s.Revision, Digest: map[string]string{"gitCommit": s.Revision},
		}},
	}
	out.Predicate.RunDetails.Builder.ID = repository + "/blob/" + s.Revision + "/Makefile#release"
	text, err := json.MarshalIndent(out, "", "  ")
	return append(text, '\n'), err
}
