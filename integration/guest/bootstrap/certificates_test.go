package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// verified reads a certificate with its key, and verifies it against an authority.
func verified(t *testing.T, pki, file, authority string, use x509.ExtKeyUsage, name string) error {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(pki, file+".crt"), filepath.Join(pki, file+".key"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{
		Roots: pool(t, filepath.Join(pki, authority+".crt")), DNSName: name, KeyUsages: []x509.ExtKeyUsage{use},
	})
	return err
}

func pool(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatalf("%s has no certificate", file)
	}
	return roots
}

func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	if err := makeCertificates(dir); err != nil {
		t.Fatal(err)
	}
	pki := filepath.Join(dir, "pki")
	for authority, files := range servers {
		for _, file := range files {
			for _, name := range []string{"node", "10.0.0.1"} {
				if err := verified(t, pki, file, authority, x509.ExtKeyUsageServerAuth, name); err != nil {
					t.Errorf("%s as %s: %v", file, name, err)
				}
			}
		}
	}
	for authority, subjects := range clients {
		for _, who := range subjects {
			if err := verified(t, pki, who.file, authority, x509.ExtKeyUsageClientAuth, ""); err != nil {
				t.Errorf("%s: %v", who.file, err)
			}
			if err := verified(t, pki, who.file, authority, x509.ExtKeyUsageServerAuth, ""); err == nil {
				t.Errorf("%s is good for a server", who.file)
			}
			for _, other := range []string{"ca", "etcd-ca", "front-proxy-ca"} {
				if other != authority && verified(t, pki, who.file, other, x509.ExtKeyUsageClientAuth, "") == nil {
					t.Errorf("%s of %s is good for %s", who.file, authority, other)
				}
			}
		}
	}
}

func TestKubeconfigs(t *testing.T) {
	dir := t.TempDir()
	if err := makeCertificates(dir); err != nil {
		t.Fatal(err)
	}
	data := regexp.MustCompile(`client-certificate-data: (\S+), client-key-data: (\S+)}`)
	for _, who := range kubeconfigs {
		text, err := os.ReadFile(filepath.Join(dir, who.file+".conf"))
		if err != nil {
			t.Fatal(err)
		}
		found := data.FindSubmatch(text)
		if found == nil {
			t.Fatalf("%s has no client:\n%s", who.file, text)
		}
		var decoded [2][]byte
		for i, part := range found[1:] {
			if decoded[i], err = base64.StdEncoding.DecodeString(string(part)); err != nil {
				t.Fatal(err)
			}
		}
		pair, err := tls.X509KeyPair(decoded[0], decoded[1])
		if err != nil {
			t.Fatal(err)
		}
		if got := pair.Leaf.Subject; got.CommonName != who.name || who.group != "" && got.Organization[0] != who.group {
			t.Errorf("%s is %s, want %s of group %q", who.file, got, who.name, who.group)
		}
	}
}
