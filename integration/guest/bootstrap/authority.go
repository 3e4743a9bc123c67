package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// The guest's clock may be set back by a test.
const validBefore, validFor = 24 * time.Hour, 10 * 365 * 24 * time.Hour

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	pair
}

// pair is a certificate and its key, both as PEM, and the key itself.
type pair struct {
	certPEM, keyPEM []byte
	key             *ecdsa.PrivateKey
}

func newAuthority(name string) (*authority, error) {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	p, err := sign(template, nil)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(p.certPEM)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse certificate: %w", err)
	}
	return &authority{cert, p}, nil
}

// sign makes a key and a certificate for it. Without an authority the certificate signs itself.
func sign(template *x509.Certificate, parent *authority) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, fmt.Errorf("make key: %w", err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return pair{}, fmt.Errorf("make serial: %w", err)
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-validBefore), time.Now().Add(validFor)
	issuer, signer := template, key
	if parent != nil {
		issuer, signer = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer)
	if err != nil {
		return pair{}, fmt.Errorf("sign certificate: %w", err)
	}
	keyPEM, err := encodeKey(key)
	return pair{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM, key}, err
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// write writes the pair to NAME.crt and NAME.key.
func (p pair) write(name string) error {
	if err := os.WriteFile(name+".crt", p.certPEM, 0o644); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	if err := os.WriteFile(name+".key", p.keyPEM, 0o600); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	return nil
}

// certify makes the certificate of a client, or of a server with names. etcd's server is a
// client of itself too.
func (a *authority) certify(who subject, names []string) (pair, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: who.name},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if who.group != "" {
		template.Subject.Organization = []string{who.group}
	}
	if names != nil {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	p, err := sign(template, a)
	if err != nil {
		return p, fmt.Errorf("certificate of %s: %w", who.name, err)
	}
	return p, nil
}

func (a *authority) issue(file string, who subject, names []string) error {
	p, err := a.certify(who, names)
	if err != nil {
		return err
	}
	return p.write(file)
}

const kubeconfigText = `apiVersion: v1
kind: Config
clusters:
- name: node
  cluster: {server: %q, certificate-authority-data: %s}
users:
- name: %[3]q
  user: {client-certificate-data: %s, client-key-data: %s}
contexts:
- name: node
  context: {cluster: node, user: %[3]q}
current-context: node
`

func (a *authority) kubeconfig(file string, who subject) error {
	p, err := a.certify(who, nil)
	if err != nil {
		return err
	}
	b64 := base64.StdEncoding.EncodeToString
	text := fmt.Sprintf(kubeconfigText, server, b64(a.certPEM), who.name, b64(p.certPEM), b64(p.keyPEM))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}

// writeServiceAccounts makes the key that signs tokens, and its public half.
func writeServiceAccounts(name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make key of service accounts: %w", err)
	}
	private, err := encodeKey(key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return fmt.Errorf("encode key of service accounts: %w", err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	// The key is written last: if it exists, all other files do.
	if err := os.WriteFile(name+".pub", public, 0o644); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	if err := os.WriteFile(name+".key", private, 0o600); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	return nil
}
