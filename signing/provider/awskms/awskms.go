// Package awskms keeps keys in the AWS Key Management Service: P-256 keys that sign, and a
// root key that wraps data keys. It uses Amazon's own client, so that the wire format and
// the ways to find credentials are theirs. It has been run against package awskmstest only,
// which stands in for the service.
package awskms

import (
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"carillon/signing"
	"carillon/signing/provider"
)

// Name is what stored keys say of this provider.
const Name = "aws-kms"

const (
	attempts       = 3
	maxPause       = time.Second
	attemptTimeout = 4 * time.Second
	callTimeout    = 10 * time.Second
	// pending is how many days a key that is destroyed could be had back by its account's
	// owner: the fewest that the service allows. It signs nothing from the first second.
	pending = 7
)

// Config is how to reach the service. Credentials are found as Amazon's tools find them: in
// the environment, in its shared files, or from the machine's or container's role.
type Config struct {
	// Region is such as "eu-central-1".
	Region string `json:"region"`
	// Endpoint is for a private endpoint; empty for the region's public one.
	Endpoint string `json:"endpoint"`
	// Credentials, for tests; nil finds them.
	Credentials aws.CredentialsProvider `json:"-"`
}

var regionPattern = regexp.MustCompile(`^[a-z0-9-]{4,30}$`)

func newClient(ctx context.Context, c Config) (*kms.Client, error) {
	if !regionPattern.MatchString(c.Region) {
		return nil, errors.New("AWS KMS: a region is needed, such as eu-central-1")
	}
	options := []func(*awsconfig.LoadOptions) error{awsconfig.WithRegion(c.Region)}
	if c.Credentials != nil {
		options = append(options, awsconfig.WithCredentialsProvider(c.Credentials))
	}
	loaded, err := awsconfig.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("AWS KMS: %w", err)
	}
	return kms.NewFromConfig(loaded, func(o *kms.Options) {
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
		o.HTTPClient = &http.Client{Timeout: attemptTimeout}
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff = attempts, maxPause
		})
	}), nil
}

// Provider keeps keys that sign.
type Provider struct{ client *kms.Client }

var _ signing.KeyProvider = (*Provider)(nil)

// New returns a provider. It does not ask the service for anything yet.
func New(ctx context.Context, c Config) (*Provider, error) {
	client, err := newClient(ctx, c)
	if err != nil {
		return nil, err
	}
	return &Provider{client}, nil
}

// Name implements [signing.KeyProvider].
func (*Provider) Name() string { return Name }

// Generate implements [signing.KeyProvider]. The reference is the key's ID. An answer that is
// lost on the way leaves a key behind that nobody uses: its description tells what it is.
func (p *Provider) Generate(ctx context.Context, b signing.Binding) (ref, publicDER []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	made, err := p.client.CreateKey(ctx, &kms.CreateKeyInput{
		KeySpec: types.KeySpecEccNistP256, KeyUsage: types.KeyUsageTypeSignVerify,
		Description: aws.String(provider.NewName(b)),
		Tags:        []types.Tag{{TagKey: aws.String("carillon"), TagValue: aws.String(string(b.Purpose))}},
	})
	if err != nil {
		return nil, nil, classify(ctx, err)
	}
	if made.KeyMetadata == nil || made.KeyMetadata.KeySpec != types.KeySpecEccNistP256 || aws.ToString(made.KeyMetadata.KeyId) == "" {
		return nil, nil, fmt.Errorf("new key: %w", signing.ErrUntrusted)
	}
	id := aws.ToString(made.KeyMetadata.KeyId)
	publicDER, err = p.public(ctx, id)
	return []byte(id), publicDER, err
}

func (p *Provider) public(ctx context.Context, id string) ([]byte, error) {
	got, err := p.client.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: aws.String(id)})
	if err != nil {
		return nil, classify(ctx, err)
	}
	if got.KeySpec != types.KeySpecEccNistP256 || got.KeyUsage != types.KeyUsageTypeSignVerify {
		return nil, fmt.Errorf("a key of another kind: %w", signing.ErrReference)
	}
	if _, err := signing.ParsePublicDER(got.PublicKey); err != nil {
		return nil, fmt.Errorf("public key: %w", signing.ErrUntrusted)
	}
	return got.PublicKey, nil
}

// An ID, never an ARN or alias, which could name another account's key or change its meaning.
var idPattern = regexp.MustCompile(`^(mrk-)?[0-9a-f-]{20,40}$`)

// find looks whether the key is there and belongs to b.
func (p *Provider) find(ctx context.Context, b signing.Binding, ref []byte) (*types.KeyMetadata, error) {
	if !idPattern.Match(ref) {
		return nil, fmt.Errorf("no ID of a key: %w", signing.ErrReference)
	}
	got, err := p.client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(string(ref))})
	if err != nil {
		return nil, classify(ctx, err)
	}
	if got.KeyMetadata == nil || aws.ToString(got.KeyMetadata.KeyId) != string(ref) {
		return nil, fmt.Errorf("description of a key: %w", signing.ErrUntrusted)
	}
	return got.KeyMetadata, provider.CheckName(b, aws.ToString(got.KeyMetadata.Description))
}

// Signer implements [signing.KeyProvider].
func (p *Provider) Signer(ctx context.Context, b signing.Binding, ref []byte) (crypto.Signer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	found, err := p.find(ctx, b, ref)
	if err != nil {
		return nil, err
	}
	if found.KeyState != types.KeyStateEnabled {
		return nil, fmt.Errorf("the key is disabled or destroyed: %w", signing.ErrReference)
	}
	id := string(ref)
	der, err := p.public(ctx, id)
	if err != nil {
		return nil, err
	}
	public, err := signing.ParsePublicDER(der)
	if err != nil {
		return nil, err
	}
	return signing.NewRemote(public, callTimeout, func(ctx context.Context, digest []byte) ([]byte, error) {
		return p.sign(ctx, id, digest)
	}), nil
}

func (p *Provider) sign(ctx context.Context, id string, digest []byte) ([]byte, error) {
	got, err := p.client.Sign(ctx, &kms.SignInput{
		KeyId: aws.String(id), Message: digest, MessageType: types.MessageTypeDigest,
		SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256,
	})
	if err != nil {
		return nil, classify(ctx, err)
	}
	return got.Signature, nil
}

// Destroy implements [signing.KeyProvider]. The service lets the owner of the account take
// it back for some days.
func (p *Provider) Destroy(ctx context.Context, b signing.Binding, ref []byte) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	found, err := p.find(ctx, b, ref)
	if err != nil {
		return err
	}
	if found.KeyState == types.KeyStatePendingDeletion {
		return nil
	}
	got, err := p.client.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{
		KeyId: aws.String(string(ref)), PendingWindowInDays: aws.Int32(pending),
	})
	if err != nil {
		return classify(ctx, err)
	}
	if got.KeyState != types.KeyStatePendingDeletion && got.DeletionDate == nil {
		return fmt.Errorf("destruction: %w", signing.ErrUntrusted)
	}
	return nil
}

// Format hides what there is from every verb of package fmt.
func (*Provider) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[aws-kms]") }

// classify says what an error of the service means. Its own text is left out.
func classify(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", signing.ErrUnavailable, ctx.Err())
	}
	var answer smithy.APIError
	if !errors.As(err, &answer) {
		var garbled *smithy.DeserializationError
		if errors.As(err, &garbled) {
			return fmt.Errorf("%w: not what was asked for", signing.ErrUntrusted)
		}
		return fmt.Errorf("%w: no answer", signing.ErrUnavailable)
	}
	switch code := answer.ErrorCode(); code {
	case "NotFoundException", "DisabledException", "KMSInvalidStateException", "InvalidKeyUsageException", "InvalidArnException", "ValidationException":
		return fmt.Errorf("%w: %s", signing.ErrReference, code)
	case "InvalidCiphertextException", "IncorrectKeyException":
		return fmt.Errorf("%w: %s", signing.ErrSealed, code)
	default:
		return fmt.Errorf("%w: %s", signing.ErrUnavailable, errorCode(code))
	}
}

var codePattern = regexp.MustCompile(`^[A-Za-z]{1,60}$`)

func errorCode(code string) string {
	if !codePattern.MatchString(code) {
		return "an error without a name"
	}
	return code
}

// Root is a symmetric key of the service that wraps data keys.
type Root struct {
	client *kms.Client
	arn    string
}

var _ signing.NamedRoot = (*Root)(nil)

var arnPattern = regexp.MustCompile(`^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/(mrk-)?[0-9a-f-]{20,40}$`)

// NewRoot returns the root key with the ARN, which is that of a key, not of an alias. It
// does not ask the service for anything yet.
func NewRoot(ctx context.Context, c Config, arn string) (*Root, error) {
	if !arnPattern.MatchString(arn) {
		return nil, errors.New("AWS KMS: a root key is named by its ARN, arn:aws:kms:REGION:ACCOUNT:key/ID")
	}
	client, err := newClient(ctx, c)
	if err != nil {
		return nil, err
	}
	return &Root{client, arn}, nil
}

// Name implements [signing.NamedRoot].
func (r *Root) Name() string { return Name + ":" + r.arn }

// associated is how the service takes what a ciphertext is bound to. It is no secret, and is
// seen in the service's log of calls.
func associated(aad []byte) map[string]string {
	return map[string]string{"carillon": base64.StdEncoding.EncodeToString(aad)}
}

// Wrap implements [signing.Root].
func (r *Root) Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	got, err := r.client.Encrypt(ctx, &kms.EncryptInput{KeyId: aws.String(r.arn), Plaintext: plaintext, EncryptionContext: associated(aad)})
	if err != nil {
		return nil, classify(ctx, err)
	}
	if len(got.CiphertextBlob) == 0 {
		return nil, fmt.Errorf("ciphertext: %w", signing.ErrUntrusted)
	}
	return got.CiphertextBlob, nil
}

// Unwrap implements [signing.Root].
func (r *Root) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	if len(wrapped) == 0 {
		return nil, signing.ErrSealed
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	got, err := r.client.Decrypt(ctx, &kms.DecryptInput{KeyId: aws.String(r.arn), CiphertextBlob: wrapped, EncryptionContext: associated(aad)})
	if err != nil {
		return nil, classify(ctx, err)
	}
	if len(got.Plaintext) == 0 {
		return nil, fmt.Errorf("plaintext: %w", signing.ErrUntrusted)
	}
	return got.Plaintext, nil
}

// Format hides what there is from every verb of package fmt.
func (*Root) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[root key]") }
