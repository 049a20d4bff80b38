import static org.springframework.security.config.Customizer.withDefaults;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.nimbusds.jose.JOSEException;
import com.nimbusds.jose.jwk.Curve;
import com.nimbusds.jose.jwk.JWK;
import com.nimbusds.jose.jwk.JWKSet;
import com.nimbusds.jose.jwk.gen.ECKeyGenerator;
import com.nimbusds.jose.jwk.gen.RSAKeyGenerator;
import com.nimbusds.jose.jwk.source.JWKSource;
import com.nimbusds.jose.proc.SecurityContext;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.catalina.connector.Connector;
import org.apache.coyote.http11.Http11NioProtocol;
import org.apache.tomcat.util.net.SSLHostConfig;
import org.apache.tomcat.util.net.SSLHostConfigCertificate;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.web.embedded.tomcat.TomcatServletWebServerFactory;
import org.springframework.boot.web.server.WebServerFactoryCustomizer;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.core.annotation.Order;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.core.userdetails.User;
import org.springframework.security.core.userdetails.UserDetailsService;
import org.springframework.security.crypto.password.PasswordEncoder;
import org.springframework.security.oauth2.core.AuthorizationGrantType;
import org.springframework.security.oauth2.core.ClientAuthenticationMethod;
import org.springframework.security.oauth2.core.oidc.endpoint.OidcParameterNames;
import org.springframework.security.oauth2.jose.jws.JwsAlgorithm;
import org.springframework.security.oauth2.jose.jws.MacAlgorithm;
import org.springframework.security.oauth2.jose.jws.SignatureAlgorithm;
import org.springframework.security.oauth2.jwt.JwtDecoder;
import org.springframework.security.oauth2.jwt.JwtEncoder;
import org.springframework.security.oauth2.jwt.NimbusJwtEncoder;
import org.springframework.security.oauth2.server.authorization.client.RegisteredClient;
import org.springframework.security.oauth2.server.authorization.client.RegisteredClientRepository;
import org.springframework.security.oauth2.server.authorization.config.annotation.web.configuration.OAuth2AuthorizationServerConfiguration;
import org.springframework.security.oauth2.server.authorization.config.annotation.web.configurers.OAuth2AuthorizationServerConfigurer;
import org.springframework.security.oauth2.server.authorization.settings.AuthorizationServerSettings;
import org.springframework.security.oauth2.server.authorization.settings.ClientSettings;
import org.springframework.security.oauth2.server.authorization.settings.TokenSettings;
import org.springframework.security.oauth2.server.authorization.token.JwtEncodingContext;
import org.springframework.security.oauth2.server.authorization.token.OAuth2TokenCustomizer;
import org.springframework.security.oauth2.server.authorization.web.authentication.X509ClientCertificateAuthenticationConverter;
import org.springframework.security.provisioning.InMemoryUserDetailsManager;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.security.web.authentication.AuthenticationConverter;
import org.springframework.security.web.authentication.LoginUrlAuthenticationEntryPoint;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RestController;

/**
 * A Spring Authorization Server for tests: in memory, loopback only.
 *
 * <p>The first line of standard input is its configuration as JSON: port; tls with port, certificate, key (files, PEM)
 * and trusted (a file of certificates, PEM), a second door that asks clients for theirs. When it serves it prints its
 * issuer. It ends when standard input does, so it never outlives its parent.
 *
 * <p>POST /admin/users adds users, {"name": {claims}}, whose password is the name; /admin/clients registers a client
 * by its metadata (OIDC Registration 2) with client_id and client_secret; /admin/keys makes new signing keys, and
 * publishes the old ones no more unless {"keep": true}.
 */
@Configuration
@EnableAutoConfiguration
@RestController
public class SpringTestServer {

    private static JsonNode config;

    private final Map<String, RegisteredClient> clients = new ConcurrentHashMap<>();
    private final Map<String, JsonNode> clientKeys = new ConcurrentHashMap<>();
    private final InMemoryUserDetailsManager users = new InMemoryUserDetailsManager();
    private final Map<String, Map<String, Object>> userClaims = new ConcurrentHashMap<>();
    private volatile JWKSet keys = newKeys();

    public static void main(String[] arguments) throws IOException {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        config = new ObjectMapper().readTree(input.readLine());
        PrintStream output = System.out;
        System.setOut(System.err); // where Spring logs
        new SpringApplication(SpringTestServer.class).run(
                "--server.address=127.0.0.1", "--server.port=" + config.get("port").asInt(),
                "--spring.main.banner-mode=off", "--logging.level.root=warn");
        output.println(issuer());
        while (input.readLine() != null) {
            // what is written to us means nothing
        }
        System.exit(0);
    }

    @PostMapping("/admin/clients")
    void addClient(@RequestBody JsonNode metadata) {
        String id = metadata.get("client_id").asText();
        clients.put(id, registered(id, metadata));
        clientKeys.put(id, metadata.path("jwks"));
    }

    /** Spring takes the keys of a client only from a URL. */
    @GetMapping("/admin/jwks/{client}")
    JsonNode clientKeys(@PathVariable String client) {
        return clientKeys.get(client);
    }

    @PostMapping("/admin/users")
    void addUsers(@RequestBody Map<String, Map<String, Object>> added) {
        added.forEach((name, claims) -> {
            users.createUser(User.withUsername(name).password(name).roles("USER").build());
            userClaims.put(name, claims);
        });
    }

    @PostMapping("/admin/keys")
    void changeKeys(@RequestBody JsonNode options) {
        List<JWK> added = new ArrayList<>(newKeys().getKeys());
        if (options.get("keep").asBoolean()) {
            added.addAll(keys.getKeys());
        }
        keys = new JWKSet(added);
    }

    @Bean
    @Order(1)
    SecurityFilterChain protocol(HttpSecurity http) throws Exception {
        OAuth2AuthorizationServerConfigurer server = OAuth2AuthorizationServerConfigurer.authorizationServer();
        return http.securityMatcher(server.getEndpointsMatcher())
                .with(server, with -> with.oidc(withDefaults())
                        .pushedAuthorizationRequestEndpoint(withDefaults())
                        .clientAuthentication(client ->
                                client.authenticationConverters(SpringTestServer::certificatesFirst)))
                .authorizeHttpRequests(requests -> requests.anyRequest().authenticated())
                .oauth2ResourceServer(resources -> resources.jwt(withDefaults()))
                .exceptionHandling(handling ->
                        handling.authenticationEntryPoint(new LoginUrlAuthenticationEntryPoint("/login")))
                .build();
    }

    @Bean
    @Order(2)
    SecurityFilterChain pages(HttpSecurity http) throws Exception {
        return http.formLogin(withDefaults())
                .csrf(csrf -> csrf.ignoringRequestMatchers("/admin/**"))
                .authorizeHttpRequests(requests ->
                        requests.requestMatchers("/admin/**").permitAll().anyRequest().authenticated())
                .build();
    }

    /** Spring's own repository in memory refuses two clients with the same secret. */
    @Bean
    RegisteredClientRepository registeredClientRepository() {
        return new RegisteredClientRepository() {
            @Override
            public void save(RegisteredClient client) {
                clients.put(client.getId(), client);
            }

            @Override
            public RegisteredClient findById(String id) {
                return clients.get(id);
            }

            @Override
            public RegisteredClient findByClientId(String id) {
                return clients.get(id);
            }
        };
    }

    @Bean
    UserDetailsService users() {
        return users;
    }

    /** The secret of a client is the key of client_secret_jwt, so it cannot be stored as a hash. */
    @Bean
    PasswordEncoder passwordEncoder() {
        return new PasswordEncoder() {
            @Override
            public String encode(CharSequence password) {
                return password.toString();
            }

            @Override
            public boolean matches(CharSequence password, String stored) {
                return stored.contentEquals(password);
            }
        };
    }

    @Bean
    JWKSource<SecurityContext> jwkSource() {
        return (selector, context) -> selector.select(keys);
    }

    @Bean
    JwtDecoder jwtDecoder(JWKSource<SecurityContext> source) {
        return OAuth2AuthorizationServerConfiguration.jwtDecoder(source);
    }

    /** The newest key signs. */
    @Bean
    JwtEncoder jwtEncoder(JWKSource<SecurityContext> source) {
        NimbusJwtEncoder encoder = new NimbusJwtEncoder(source);
        encoder.setJwkSelector(fitting -> fitting.get(0));
        return encoder;
    }

    @Bean
    OAuth2TokenCustomizer<JwtEncodingContext> claims() {
        return context -> {
            if (OidcParameterNames.ID_TOKEN.equals(context.getTokenType().getValue())) {
                context.getClaims().claims(all -> all.putAll(userClaims.get(context.getPrincipal().getName())));
            }
        };
    }

    @Bean
    AuthorizationServerSettings settings() {
        return AuthorizationServerSettings.builder().issuer(issuer()).build();
    }

    @Bean
    WebServerFactoryCustomizer<TomcatServletWebServerFactory> certificateDoor() {
        return factory -> factory.addAdditionalTomcatConnectors(certificateDoor(config.get("tls")));
    }

    /** In Spring's own order, a client with a certificate that uses PKCE is taken for a public client. */
    private static void certificatesFirst(List<AuthenticationConverter> converters) {
        converters.sort(Comparator.comparing(one -> !(one instanceof X509ClientCertificateAuthenticationConverter)));
    }

    private static Connector certificateDoor(JsonNode tls) {
        SSLHostConfig host = new SSLHostConfig();
        host.setCertificateVerification("optional");
        host.setTrustStore(trusted(Path.of(tls.get("trusted").asText())));
        SSLHostConfigCertificate certificate =
                new SSLHostConfigCertificate(host, SSLHostConfigCertificate.Type.UNDEFINED);
        certificate.setCertificateFile(tls.get("certificate").asText());
        certificate.setCertificateKeyFile(tls.get("key").asText());
        host.addCertificate(certificate);
        Connector connector = new Connector(Http11NioProtocol.class.getName());
        connector.setPort(tls.get("port").asInt());
        connector.setScheme("https");
        connector.setSecure(true);
        connector.setProperty("address", "127.0.0.1");
        connector.setProperty("SSLEnabled", "true");
        connector.addSslHostConfig(host);
        return connector;
    }

    private static KeyStore trusted(Path file) {
        try (InputStream text = Files.newInputStream(file)) {
            KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
            store.load(null, null);
            for (Certificate one : CertificateFactory.getInstance("X.509").generateCertificates(text)) {
                store.setCertificateEntry(UUID.randomUUID().toString(), one);
            }
            return store;
        } catch (IOException | GeneralSecurityException error) {
            throw new IllegalStateException(error);
        }
    }

    private static RegisteredClient registered(String id, JsonNode metadata) {
        ClientSettings.Builder client = ClientSettings.builder().requireProofKey(true);
        if (metadata.has("jwks_uri")) {
            client.jwkSetUrl(metadata.get("jwks_uri").asText());
        } else if (metadata.has("jwks")) {
            client.jwkSetUrl(issuer() + "/admin/jwks/" + id);
        }
        if (metadata.has("tls_client_auth_subject_dn")) {
            client.x509CertificateSubjectDN(metadata.get("tls_client_auth_subject_dn").asText());
        }
        if (metadata.has("token_endpoint_auth_signing_alg")) {
            client.tokenEndpointAuthenticationSigningAlgorithm(
                    algorithm(metadata.get("token_endpoint_auth_signing_alg").asText()));
        }
        TokenSettings.Builder tokens = TokenSettings.builder()
                .reuseRefreshTokens(false)
                .accessTokenTimeToLive(Duration.ofMinutes(5))
                .idTokenSignatureAlgorithm(
                        SignatureAlgorithm.from(metadata.path("id_token_signed_response_alg").asText("RS256")));
        return RegisteredClient.withId(id)
                .clientId(id)
                .clientSecret(metadata.path("client_secret").asText(null))
                .clientAuthenticationMethod(
                        new ClientAuthenticationMethod(metadata.get("token_endpoint_auth_method").asText()))
                .authorizationGrantType(AuthorizationGrantType.AUTHORIZATION_CODE)
                .authorizationGrantType(AuthorizationGrantType.REFRESH_TOKEN)
                .redirectUris(uris -> uris.addAll(texts(metadata.get("redirect_uris"))))
                .postLogoutRedirectUris(uris -> uris.addAll(texts(metadata.get("post_logout_redirect_uris"))))
                .scopes(scopes -> scopes.addAll(List.of("openid", "profile", "email")))
                .clientSettings(client.build())
                .tokenSettings(tokens.build())
                .build();
    }

    private static JwsAlgorithm algorithm(String name) {
        SignatureAlgorithm signature = SignatureAlgorithm.from(name);
        return signature != null ? signature : MacAlgorithm.from(name);
    }

    private static List<String> texts(JsonNode array) {
        List<String> texts = new ArrayList<>();
        array.forEach(one -> texts.add(one.asText()));
        return texts;
    }

    private static JWKSet newKeys() {
        try {
            return new JWKSet(List.of(
                    new RSAKeyGenerator(2048).keyID(UUID.randomUUID().toString()).generate(),
                    new ECKeyGenerator(Curve.P_256).keyID(UUID.randomUUID().toString()).generate()));
        } catch (JOSEException error) {
            throw new IllegalStateException(error);
        }
    }

    private static String issuer() {
        return "http://127.0.0.1:" + config.get("port").asInt();
    }
}
