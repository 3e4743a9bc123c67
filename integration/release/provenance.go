package release

import (
	"encoding/json"
	"runtime"
	"slices"

	"github.com/in-toto/in-toto-golang/in_toto"
	"github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/common"
	slsa "github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/v1"
)

const (
	repository = "https://github.com/oomwitness/oomwitness"
	// buildType says how to read the parameters: the page explains them.
	buildType = repository + "/blob/main/docs/release.md#provenance"
)

// statement is in-toto's, with SLSA's predicate.
type statement struct {
	Type          string                   `json:"_type"`
	Subject       []in_toto.Subject        `json:"subject"`
	PredicateType string                   `json:"predicateType"`
	Predicate     slsa.ProvenancePredicate `json:"predicate"`
}

// provenance states what the files were made from, by which command. Who built is for
// the signature to say: the statement has neither a time nor a host.
func (s Source) provenance(digests map[string]string) ([]byte, error) {
	names := []string{}
	for name := range digests {
		names = append(names, name)
	}
	slices.Sort(names)
	out := statement{Type: in_toto.StatementInTotoV1, PredicateType: slsa.PredicateSLSAProvenance}
	for _, name := range names {
		out.Subject = append(out.Subject, in_toto.Subject{Name: name, Digest: common.DigestSet{"sha256": digests[name]}})
	}
	out.Predicate.BuildDefinition = slsa.ProvenanceBuildDefinition{
		BuildType:          buildType,
		ExternalParameters: map[string]any{"version": s.Version, "repository": s.Repository},
		InternalParameters: map[string]any{"go": runtime.Version(), "command": s.Command},
		ResolvedDependencies: []slsa.ResourceDescriptor{{
			URI: "git+" + repository + "@" + s.Revision, Digest: common.DigestSet{"gitCommit": s.Revision},
		}},
	}
	out.Predicate.RunDetails.Builder.ID = repository + "/blob/" + s.Revision + "/Makefile#release"
	text, err := json.MarshalIndent(out, "", "  ")
	return append(text, '\n'), err
}
