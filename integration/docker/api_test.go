//go:build linux

package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/oomwitness/oomwitness/integration/workload"
)

// image is the name of the image with the workload.
const image = "workload:latest"

// api is a client of dockerd's socket.
type api struct{ client *http.Client }

func newAPI(socket string) api {
	return api{&http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}}
}

// open makes a request and returns the body of the answer.
func (a api) open(ctx context.Context, method, path string, body io.Reader) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := a.client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= http.StatusBadRequest {
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, response.Status, bytes.TrimSpace(text))
	}
	return response.Body, nil
}

// call makes a request and decodes the answer into out, unless that is nil.
func (a api) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	answer, err := a.open(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer answer.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, answer)
		return err
	}
	return json.NewDecoder(answer).Decode(out)
}

// importImage makes an image of programs. files maps paths in the image to files of this
// machine.
func (a api) importImage(ctx context.Context, name string, files map[string]string) error {
	var layer bytes.Buffer
	out := tar.NewWriter(&layer)
	for path, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(path, "/"), Mode: 0o755, Size: int64(len(text))}
		if err := out.WriteHeader(header); err != nil {
			return err
		}
		if _, err := out.Write(text); err != nil {
			return err
		}
	}
	if err := out.Close(); err != nil {
		return err
	}
	repo, tag, _ := strings.Cut(name, ":")
	answer, err := a.open(ctx, http.MethodPost, "/images/create?fromSrc=-&repo="+repo+"&tag="+tag, &layer)
	if err != nil {
		return err
	}
	defer answer.Close()
	_, err = io.Copy(io.Discard, answer)
	return err
}

// state is the part State of the answer of `docker inspect`.
type state struct {
	Running   bool
	OOMKilled bool
	ExitCode  int
	Pid       int
	Status    string
}

// run creates and starts a container of the image and returns its ID.
func (a api) run(ctx context.Context, runtime string, c testCase) (string, error) {
	host := map[string]any{"Memory": c.limit, "MemorySwap": c.limit, "NetworkMode": "none"}
	if runtime != "" {
		host["Runtime"] = runtime
	}
	if c.restarts > 0 {
		host["RestartPolicy"] = map[string]any{"Name": "on-failure", "MaximumRetryCount": c.restarts}
	}
	var created struct{ ID string }
	err := a.call(ctx, http.MethodPost, "/containers/create", map[string]any{
		"Image": image, "Cmd": append([]string{workload.Path}, c.args...), "HostConfig": host,
	}, &created)
	if err != nil {
		return "", err
	}
	return created.ID, a.call(ctx, http.MethodPost, "/containers/"+created.ID+"/start", nil, nil)
}

// inspect returns the state of a container and how often it was restarted.
func (a api) inspect(ctx context.Context, id string) (state, int, error) {
	var answer struct {
		State        state
		RestartCount int
	}
	err := a.call(ctx, http.MethodGet, "/containers/"+id+"/json", nil, &answer)
	return answer.State, answer.RestartCount, err
}

// wait blocks until the container has ended.
func (a api) wait(ctx context.Context, id string) error {
	return a.call(ctx, http.MethodPost, "/containers/"+id+"/wait", nil, nil)
}

// said blocks until the container has printed text.
func (a api) said(ctx context.Context, id, text string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answer, err := a.open(ctx, http.MethodGet, "/containers/"+id+"/logs?stdout=1&follow=1", nil)
	if err != nil {
		return err
	}
	defer answer.Close()
	var all []byte
	part := make([]byte, 4096)
	for {
		n, err := answer.Read(part)
		all = append(all, part[:n]...)
		if bytes.Contains(all, []byte(text)) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("container %s printed %q, not %q: %w", id, all, text, err)
		}
	}
}

// remove deletes a container, also a running one.
func (a api) remove(ctx context.Context, id string) error {
	return a.call(ctx, http.MethodDelete, "/containers/"+id+"?force=1&v=1", nil, nil)
}

// events opens the stream of the containers' events, from the Unix time since on.
func (a api) events(ctx context.Context, since string) (io.ReadCloser, error) {
	query := url.Values{"filters": {`{"type":["container"],"event":["oom","die"]}`}, "since": {since}}
	return a.open(ctx, http.MethodGet, "/events?"+query.Encode(), nil)
}
