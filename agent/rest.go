package agent

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
)

// RESTGroup returns a client of one group of the API, for the types that codecs know. It
// does not change the configuration.
func RESTGroup(c *rest.Config, version schema.GroupVersion, codecs serializer.CodecFactory) (rest.Interface, error) {
	return deliver.Group(c, version, codecs)
}

// RESTScheme has the types that are added, beside those of every group.
func RESTScheme(adders ...func(*runtime.Scheme) error) *runtime.Scheme {
	return deliver.Scheme(adders...)
}
