package deliver

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Limits of the requests to the API server, those of the seed tracer, and how long
// one may take.
const (
	DefaultQPS     = 50
	DefaultBurst   = 100
	requestTimeout = 10 * time.Second
)

// ClientOptions say where the API server is and how much it is asked.
type ClientOptions struct {
	// Kubeconfig is a file, "" for the pod's own service account.
	Kubeconfig string
	// QPS and Burst limit all requests but those of the watch.
	QPS   float32
	Burst int
	// UserAgent is what the API server's log calls the agent.
	UserAgent string
}

// Client is the agent's way to the API server.
//
// # Rights
//
// What the agent asks for, and so what its role must allow; the Helm chart grants
// no more:
//
//	""     pods           list, watch   the pods of its own node, by the field selector spec.nodeName
//	""     events         create, patch in every namespace: on pods, and in "default" on the node
//	""     pods           patch         only with --victim-annotation or --victim-label
//	""     pods/eviction  create        only with --evict
//
// It asks for no nodes. RBAC alone can't limit list and watch of pods to those of
// one node: the role allows all pods of the cluster, though the agent never asks
// for them. An authorizer that reads selectors (AuthorizeWithSelectors, in
// Kubernetes 1.34 and later always on) can: a webhook or the node authorizer sees
// the selector of each request; RBAC takes no notice of it.
//
// Client has the group of the API that the agent uses, the core. A
// kubernetes.Clientset would bring more than fifty.
type Client struct {
	Core rest.Interface
	// Watch is Core without the limits, for lists and watches.
	Watch rest.Interface
}

// Connect makes a client. It asks nothing of the API server yet.
func Connect(o ClientOptions) (*Client, error) {
	config, err := configOf(o.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	config.QPS, config.Burst, config.UserAgent = o.QPS, o.Burst, o.UserAgent
	return ForConfig(config)
}

func configOf(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		return rest.InClusterConfig() // clientcmd would warn that none was given
	}
	return clientcmd.BuildConfigFromFlags("", kubeconfig)
}

// ForConfig makes a client of a configuration, which it does not change.
func ForConfig(config *rest.Config) (*Client, error) {
	core, err := coreGroup(config, requestTimeout)
	if err != nil {
		return nil, err
	}
	unlimited := rest.CopyConfig(config)
	unlimited.QPS = -1
	watch, err := coreGroup(unlimited, 0)
	if err != nil {
		return nil, err
	}
	return &Client{Core: core, Watch: watch}, nil
}

func coreGroup(config *rest.Config, timeout time.Duration) (rest.Interface, error) {
	config = rest.CopyConfig(config)
	config.Timeout = timeout
	client, err := Group(config, corev1.SchemeGroupVersion, codecs)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	return client, nil
}

// Group makes a client of one group of the API, for the types that codecs know. It
// does not change the configuration.
func Group(config *rest.Config, version schema.GroupVersion, codecs serializer.CodecFactory) (rest.Interface, error) {
	config = rest.CopyConfig(config)
	config.GroupVersion, config.APIPath = &version, "/apis"
	if version.Group == "" {
		config.APIPath = "/api"
	}
	config.NegotiatedSerializer = codecs.WithoutConversion()
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	return rest.RESTClientFor(config)
}

// Scheme has the types that are added, beside those of every group.
func Scheme(adders ...func(*runtime.Scheme) error) *runtime.Scheme {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	for _, add := range adders {
		if err := add(scheme); err != nil {
			panic(err) // two types of one name: a fault of the libraries
		}
	}
	return scheme
}

// codecs know the types that the agent sends and gets, and no others. An Eviction
// is of the group policy, though it is sent to the core group.
var codecs = serializer.NewCodecFactory(Scheme(corev1.AddToScheme, policyv1.AddToScheme))
