DROP TABLE hydra_oauth2_trusted_jwt_bearer_issuer;
DROP TABLE hydra_jwk;
