"""The gateway's ports on AWS: DynamoDB, SQS, the management API. What a Lambda function is made of."""
